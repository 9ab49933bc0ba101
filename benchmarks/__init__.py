"""Claims of speed, each as one command beside the peers."""
