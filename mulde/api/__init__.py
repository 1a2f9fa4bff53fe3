"""The public functions and classes of `import mulde`, which loads them when they are first used."""
