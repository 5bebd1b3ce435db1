-- What the keys of the namespace begin with, told by that of a flight: those that each call needs are spelled by the script, and mostly
-- it needs few. The name of the flight begins eight letters after it.
local tag = string.match(flight, '^[^}]*}:')
