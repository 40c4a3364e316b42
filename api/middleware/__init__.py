"""What every call passes before its route, one layer a module, in the order that `stack` spells out."""
