"""Scripts that train the small committed networks. The only part of the project that needs PyTorch."""
