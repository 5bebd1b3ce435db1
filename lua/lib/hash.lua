-- Hashes and what ends: fields by their names, stamps in them that are put right.

-- A hash, by name.
local function read_hash(key)
  local flat, fields = redis.call('HGETALL', key), {}
  for i = 1, #flat, 2 do
    fields[flat[i]] = flat[i + 1]
  end
  return fields
end

-- The fields that begin so, by what follows.
local function fields_after(record, prefix)
  local found = {}
  for field, value in pairs(record) do
    if string.sub(field, 1, #prefix) == prefix then
      found[string.sub(field, #prefix + 1)] = value
    end
  end
  return found
end

-- What is left of a span that ends at a stamp in a hash. After the clock was set back it would be over too late by as
-- much: it is put right.
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
