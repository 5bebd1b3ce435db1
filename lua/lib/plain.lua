-- So many fields has the record of a flight that is led, where nothing else is known of it: state, owner, lead, started.
local fields_of_a_lead = 4
