"""Channel saliency: wavelet descriptors and the classic criteria."""
