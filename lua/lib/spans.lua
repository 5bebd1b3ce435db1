-- What has passed since a stamp, and what is left until one.

-- A stamp in the future counts as now, so a clock that was set back does no lasting harm.
local function passed_ms(stamp, now)
  return math.max(0, now - (tonumber(stamp) or now))
end

-- What is left of a span that ends at `stamp`, never more than the span itself is long.
local function left_ms(stamp, now, longest)
  return math.min(longest, math.max(0, (tonumber(stamp) or now) - now))
end
