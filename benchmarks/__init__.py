"""How fast the bot is, beside plain yardsticks that run in the same minutes on the same machine."""
