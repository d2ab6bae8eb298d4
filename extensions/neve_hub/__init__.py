"""What the hub loads (login, spawner, mounts, services), and `neve-run`, which starts all of Névé on one machine."""
