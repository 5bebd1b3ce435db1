-- Redis' time, the only clock that decides anything: in ms, and in us, which tell apart who comes in the same ms.
local function read_clock()
  local time = redis.call('TIME')
  return time[1] * 1000 + math.floor(time[2] / 1000), time[1] * 1000000 + time[2]
end

-- A stamp in the future counts as now, so a clock that was set back does no lasting harm.
local function passed_ms(stamp, now)
  return math.max(0, now - (tonumber(stamp) or now))
end

-- What is left of a span that ends at `stamp`, never more than the span itself is long.
local function left_ms(stamp, now, longest)
  return math.min(longest, math.max(0, (tonumber(stamp) or now) - now))
end

-- What is left of a span that ends at a stamp in a hash. Where the clock was set back, the stamp is set back with it: the
-- span then ends after its own length, and not when the clock has caught up.
local function left_of_field(key, record, field, now, longest)
  local stamp = tonumber(record[field])
  if stamp and stamp - now > longest then
    record[field] = now + longest
    redis.call('HSET', key, field, record[field])
  end
  return left_ms(record[field], now, longest)
end

-- Keeps a key for at least ttl_ms from now; one that lives longer is left alone.
local function keep_at_least(key, ttl_ms)
  if redis.call('PTTL', key) < ttl_ms then
    redis.call('PEXPIRE', key, ttl_ms)
  end
end

-- A hash, by name.
local function read_hash(key)
  local flat, fields = redis.call('HGETALL', key), {}
  for i = 1, #flat, 2 do
    fields[flat[i]] = flat[i + 1]
  end
  return fields
end
