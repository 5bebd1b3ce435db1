-- The record of a flight, as HGETALL gives it, by name.
local function read_flight(key)
  local flat, record = redis.call('HGETALL', key), {}
  for i = 1, #flat, 2 do
    record[flat[i]] = flat[i + 1]
  end
  return record
end

-- The fence in an owner, <pod>/<fence>.
local function fence_of(owner)
  return string.match(owner, '/(%d+)$')
end

-- Whether a record has a field that begins so.
local function has_field(record, prefix)
  for field in pairs(record) do
    if string.sub(field, 1, #prefix) == prefix then
      return true
    end
  end
  return false
end

-- Keeps a key for at least ttl_ms from now; one that lives longer is left alone.
local function keep_at_least(key, ttl_ms)
  if redis.call('PTTL', key) < ttl_ms then
    redis.call('PEXPIRE', key, ttl_ms)
  end
end

-- Tells every pod that waits for a flight, once, and forgets who waited.
--
-- Last in every script, and by pcall: a channel that the ACL forbids must not undo what was decided.
-- The channels are in the slot of the keys, but not among them: who waits is known only here.
local function tell_waiting(flight, record, channels, message)
  local waits = {}
  for field in pairs(record) do
    if string.sub(field, 1, 6) == 'waits:' then
      waits[#waits + 1] = field
    end
  end
  if #waits == 0 then
    return
  end
  redis.call('HDEL', flight, unpack(waits))
  for _, field in ipairs(waits) do
    redis.pcall('PUBLISH', channels .. string.sub(field, 7), message)
  end
end
