-- Keeps a key for at least ttl_ms from now; one that lives longer is left alone.
local function keep_at_least(key, ttl_ms)
  if redis.call('PTTL', key) < ttl_ms then
    redis.call('PEXPIRE', key, ttl_ms)
  end
end
