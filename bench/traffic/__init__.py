"""The traffic of a soak (bench/soak.py): its kinds, the upstream that it is for, and how each answer is judged."""
