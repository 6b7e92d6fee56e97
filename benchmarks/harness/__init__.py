"""What every benchmark case shares: timing, memory, comparison, reports."""
