-- Stamps in a hash, which are put right where the clock was set back.

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
