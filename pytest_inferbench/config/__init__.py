"""What a project configures: the service, its profiles, its workloads."""
