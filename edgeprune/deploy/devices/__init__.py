"""Where a job runs: this machine, another over ssh, or any command."""
