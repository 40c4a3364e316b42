"""The HTTP side of Botfarm: thin routes over `domain`."""
