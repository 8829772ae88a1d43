"""What a user writes in the YAML file of a sweep, validated."""
