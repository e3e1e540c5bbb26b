"""Channel saliency: second order in the wavelet domain and the classic criteria."""
