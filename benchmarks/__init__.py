"""Speed and scale, each against a peer in the same run."""
