-- Notices that the server which decides is not the one that decided before: a restart, a failover, data of another day. The
-- last writes may be lost then, so for the longest lease in force nobody is given a new lead: living leaders put their
-- flights back meanwhile.
--
-- incarnation  string: '<run id> <recovering_until> <recovering_ms>': the server that decided last, when it has recovered, and
--              how long that takes. Read inside of the script: no connection, proxy or pod can name an older server.
--
-- Where the user may not ask (+info), the run id is 'unknown', and Redis has forgotten if the last fence it knows is lower
-- than one that a pod has seen. That misses much: a pod that has seen nothing notices nothing.
--
-- Comes after server.lua, run_id.lua and register.lua.

-- The channel on which every pod of the namespace listens, told by that of a pod without the pod.
local function fleet_of(channels)
  return string.sub(channels, 1, -5) .. 'fleet'
end

-- How many clients of this server listen on a channel, nil where it may not be asked.
local function listeners(channel)
  local heard = redis.pcall('PUBLISH', channel, 'anybody')
  return type(heard) == 'number' and heard or nil
end

-- How long a server that holds nothing of the namespace waits before the first lead. What it was before it started, and who
-- led there, it cannot know; but no lease of then outlives the longest one. A replica that was promoted is as young as that
-- promotion, and does not tell when it was.
local function first_wait_ms(place, info, longest_ms)
  local all, own = listeners(place.fleet), listeners(place.channel)
  if not all or not own or all > own then
    -- Somebody else listens: the namespace is in use.
    return longest_ms
  end
  local second_id = string.match(redis.call('INFO', 'replication'), 'master_replid2:(%x+)')
  if not second_id or string.find(second_id, '[^0]') then
    return longest_ms
  end
  local up_ms = tonumber(string.match(info, 'uptime_in_seconds:(%d+)') or '0') * 1000
  return math.max(0, longest_ms - up_ms)
end

-- place: fence, incarnation, meta (keys), fleet, channel (the channel of all pods, and the asking pod's), lease_ms, now. The
-- channel only where a pod starts: one that has started has noted the server, and where no note stands Redis has forgotten.
-- noted: what stands in the key. last: the last fence that Redis knows. seen: the highest that the pod has seen.
-- is_leader: a leader renews, so the namespace was used for certain.
--
-- Returns the run id, '' where nobody may ask for it, and how many ms it recovers yet, 0 when nothing was forgotten.
local function recover(place, noted, last, seen, is_leader)
  local now = place.now
  local noted_id, until_ms, span_ms = string.match(noted or '', '^(%w+) (%d+) (%d+)$')
  local run_id, info = ask_run_id()
  until_ms, span_ms = tonumber(until_ms or '0'), tonumber(span_ms or '0')

  local is_new = run_id and noted_id ~= run_id
  if not run_id then
    run_id, is_new = noted_id or 'unknown', last < seen
    if is_new then
      redis.call('SET', place.fence, whole(seen))
    end
  end
  local changes = is_new or not noted_id
  if is_new then
    span_ms = longest_lease_ms(place.meta, now, place.lease_ms)
    if info and place.channel and not noted_id and last == 0 and seen == 0 then
      span_ms = first_wait_ms(place, info, span_ms)
    end
    until_ms = now + span_ms
  elseif until_ms > now then
    if until_ms > now + span_ms then
      -- The clock was set back.
      until_ms, changes = now + span_ms, true
    end
    if is_leader and place.lease_ms > span_ms then
      -- The pods that noticed first knew of no lease as long as this one: with what was lost went its entry.
      until_ms, span_ms, changes = until_ms + place.lease_ms - span_ms, place.lease_ms, true
    end
  end
  if changes then
    redis.call('SET', place.incarnation, table.concat({run_id, whole(until_ms), whole(span_ms)}, ' '))
    if until_ms > now then
      redis.pcall('PUBLISH', place.fleet, 'incarnation')
    end
  end
  return run_id == 'unknown' and '' or run_id, math.max(0, until_ms - now)
end
