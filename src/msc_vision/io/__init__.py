"""Files in and out: images, manifests, filename patterns, labels."""
