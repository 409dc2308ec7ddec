"""Where the time goes: kbstate beside plain ssh and its peers. See README.md in this directory."""
