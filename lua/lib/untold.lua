-- The outcome has landed, and the leader does something before anybody is told of it: its lock stays for a lease, so that a caller that
-- comes meanwhile joins. Where the leader is lost, the outcome is there when that is over.
local function keep_untold(lock, holder, flight, owner, own_fence, lease_ms)
  redis.call('HSET', flight, 'untold', own_fence)
  if not holder or holder == owner then
    redis.call('SET', lock, owner, 'PX', whole(lease_ms))
    keep_at_least(flight, lease_ms)
  end
end
