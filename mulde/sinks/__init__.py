"""Where alerts are sent: each kind of receiver in a file of its own, with records and settings alone."""
