-- load: what wrk sends, and its figures as one line of JSON.
--   wrk ... -s load.lua URL -- FILE AUTHORIZATION
-- FILE holds one JSON body per line; they are sent in turn.
local requests, at = {}, 0

function init(args)
   local headers = { ["Content-Type"] = "application/json", ["Authorization"] = args[2] }
   for line in io.lines(args[1]) do
      requests[#requests + 1] = wrk.format("POST", nil, headers, line)
   end
end

function request()
   at = at % #requests + 1
   return requests[at]
end

function done(summary, latency, _)
   local e = summary.errors
   io.write(string.format(
      '{"requests":%d,"us":%d,"bytes":%d,"p50":%d,"p99":%d,"errors":%d}\n',
      summary.requests, summary.duration, summary.bytes,
      latency:percentile(50), latency:percentile(99),
      e.connect + e.read + e.write + e.status + e.timeout))
end
