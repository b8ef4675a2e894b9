"""What every file task shares: settings, binding, the job and its runner, partial results, shards."""
