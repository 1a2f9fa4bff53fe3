"""Which model suits which camera: models held against normal footage, their own and that of others."""
