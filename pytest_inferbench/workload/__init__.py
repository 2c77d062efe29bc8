"""What is asked of a service: arrivals, schedules, workloads, seeds."""
