"""The only reader of DWARF, ELF and System.map: from names to addresses and back."""
