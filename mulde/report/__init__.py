"""Pictures, frames and pages for people, made of records and plain data. Knows no models and no stages."""
