"""Digital twins of users, slices and infrastructure: delayed mirrors that know how old they are."""
