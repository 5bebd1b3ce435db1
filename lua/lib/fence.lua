-- Notices that Redis has forgotten fences it gave (a restart, a failover): the last one it knows is lower than one
-- that a pod has seen. Then the fence is set to that one, and for a lease nobody is given a new lead, so that the
-- leaders can put back what was forgotten.
--
-- there: what MGET says of the two keys. Returns the last fence and how many ms of that lease are left, 0 when nothing
-- was forgotten.
local function last_fence(fence, recovering, there, seen, lease_ms)
  local last, is_recovering = tonumber(there[1] or '0'), there[2]
  if last < seen then
    redis.call('SET', fence, string.format('%.0f', seen))
    redis.call('SET', recovering, '1', 'PX', lease_ms)
    return seen, lease_ms
  end
  if not is_recovering then
    return last, 0
  end
  local left = redis.call('PTTL', recovering)
  if left > lease_ms then
    -- The clock was set back.
    left = lease_ms
    redis.call('PEXPIRE', recovering, left)
  end
  return last, math.max(0, left)
end
