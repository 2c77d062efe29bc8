"""A service in a Kubernetes cluster, through the user's own ``kubectl``."""
