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

-- The same of a stamp in a hash. After the clock was set back it would be over too late by as much: it is put right.
local function left_of(key, record, field, now, longest)
  if tonumber(record[field] or now) > now + longest then
    record[field] = now + longest
    redis.call('HSET', key, field, record[field])
  end
  return left_ms(record[field], now, longest)
end

-- What has passed since a stamp in a hash. One in the future is put right: it counts as now, once.
local function passed_of(key, record, field, now)
  if tonumber(record[field] or now) > now then
    record[field] = now
    redis.call('HSET', key, field, now)
  end
  return passed_ms(record[field], now)
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
