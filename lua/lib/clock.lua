-- Longest that a provider is obeyed when it asks to stay away.
local longest_hold_ms = 5 * 60 * 1000

-- Where nobody knows when a probe or a permit comes back: a pause that is fair to all.
local fair_pause_ms = 1000

-- Redis' time, the only clock that decides anything: in ms, and in us.
local function read_clock()
  local time = redis.call('TIME')
  local now_us = time[1] * 1000000 + time[2]
  return math.floor(now_us / 1000), now_us
end

-- A whole number as text. Redis writes a number that it is handed with all the digits of a fraction, which costs as
-- much as a small call.
local function whole(number)
  return string.format('%d', number)
end
