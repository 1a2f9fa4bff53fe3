"""`mulde watch-folder`: files that arrive, scored once each, and the ledger of what became of them."""
