-- The record of a flight, by name. Comes after hash.lua.
--
-- What a leader writes of itself is few fields, because each costs it as much as half a small call; here each part has its name:
--
-- owner  '<pod>/<fence>/<lease_ms>'; '-' for the pod once the lead was given back and leaders were lost before it
-- lead   '<attempt> <claim> <client> <account>', each as wide as it always is: 36, 64, 64, 16
-- known_before, lost_leaders, charged_window  only where they are other than 'nothing', '0' and '<started> <account>'
local function read_record(flight)
  local record = read_hash(flight)
  local lead, owner = record.lead, record.owner or ''
  if lead then
    record.attempt, record.claim, record.client = string.sub(lead, 1, 36), string.sub(lead, 38, 101), string.sub(lead, 103, 166)
    record.fence, record.lease_ms = string.match(owner, '/(%d+)/(%d+)$')
    record.known_before, record.lost_leaders = record.known_before or 'nothing', record.lost_leaders or '0'
    record.charged_window = record.charged_window or (record.started or '') .. string.sub(lead, 167)
    if string.sub(owner, 1, 2) == '-/' then
      record.owner, record.attempt, record.charged_window = nil, nil, nil
    end
  end
  return record
end
