"""Training of networks: data with truth, augmentation, the loop, and what a trained model is handed over with.

Only this package and `msc_vision.segmentation.network` import torch. Nothing here runs while images are scored.
"""
