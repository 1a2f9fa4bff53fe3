"""Networks that reconstruct images, and their blocks. Tensors in, tensors out: no data set, no settings file."""
