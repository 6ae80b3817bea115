"""What differs between the sources: each file adds columns to the LatentTable."""
