"""Where a job runs: this machine, or another over ssh."""
