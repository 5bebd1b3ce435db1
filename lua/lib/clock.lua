-- Redis' time, the only clock that decides anything: in ms; and as redis tells it, in s and us of it.
local function read_clock()
  local time = redis.call('TIME')
  return time[1] * 1000 + math.floor(time[2] / 1000), time
end

-- A whole number as text. Redis writes a number that it is handed with all the digits of a fraction, which costs as
-- much as a small call.
local function whole(number)
  return string.format('%d', number)
end

-- A stamp in the future counts as now, so a clock that was set back does no lasting harm.
local function passed_ms(stamp, now)
  return math.max(0, now - (tonumber(stamp) or now))
end

-- What is left of a span that ends at `stamp`, never more than the span itself is long.
local function left_ms(stamp, now, longest)
  return math.min(longest, math.max(0, (tonumber(stamp) or now) - now))
end
