-- What the keys of the namespace begin with, told by that of its last fence: those that each call needs are spelled by the script, and
-- mostly it needs few.
local tag = string.sub(fence, 1, -6)
