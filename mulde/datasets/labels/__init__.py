"""Label files and masks, one class per form, read into one label per frame, masks or boxes."""
