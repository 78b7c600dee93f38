-- Features (XEP-0030) that a client may name to others unasked. What is not here is content: a feature's name is a text.
local features = {};

local function add(prefix, names)
	for name in names:gmatch("%S+") do
		features[prefix..name] = true;
	end
end

add("http://jabber.org/", [[
	features/iq-auth features/iq-register protocol/activity protocol/address protocol/amp protocol/bytestreams
	protocol/caps protocol/chatstates protocol/commands protocol/disco#info protocol/disco#items protocol/feature-neg
	protocol/geoloc protocol/httpbind protocol/http-auth protocol/ibb protocol/mood protocol/muc protocol/muc#user
	protocol/nick protocol/offline protocol/pubsub protocol/pubsub#event protocol/rosterx protocol/rsm
	protocol/shim protocol/shim#SubID protocol/si protocol/si/profile/file-transfer protocol/tune protocol/xhtml-im
]]);
add("jabber:", [[
	client iq:gateway iq:last iq:oob iq:privacy iq:private iq:register iq:roster iq:rpc iq:search iq:time iq:version
	x:conference x:data x:delay x:encrypted x:event x:oob x:signed
]]);
add("urn:xmpp:", [[
	attention:0 avatar:data avatar:metadata blocking bob bookmarks:0 bookmarks:1 bookmarks:1#compat caps caps:optimize
	captcha carbons:2 carbons:rules:0 chat-markers:0 delay eme:0 extdisco:2 fallback:0 features:rosterver file:metadata:0
	forward:0 fulltext:0 hashes:1 hashes:2 hints http:upload:0 idle:1 jingle-message:0 jingle-message:1 jingle:1
	jingle:apps:dtls:0 jingle:apps:file-transfer:3 jingle:apps:file-transfer:4 jingle:apps:file-transfer:5
	jingle:apps:grouping:0 jingle:apps:rtp:1 jingle:apps:rtp:audio jingle:apps:rtp:rtcp-fb:0
	jingle:apps:rtp:rtp-hdrext:0 jingle:apps:rtp:ssma:0 jingle:apps:rtp:video jingle:apps:rtp:zrtp:1
	jingle:jet-omemo:0 jingle:jet:0 jingle:transports:dtls-sctp:1 jingle:transports:ibb:1 jingle:transports:ice-udp:1
	jingle:transports:raw-udp:1 jingle:transports:s5b:1 mam:1 mam:2 mds:displayed:0 media-element message-attaching:1
	message-correct:0 message-markup:0 message-moderate:1 message-retract:0 message-retract:1 microblog:0 occupant-id:0
	omemo:1 omemo:2 openpgp:0 ping push:0 reactions:0 receipts reference:0 reply:0 rtt:0 sfs:0 sid:0 sims:1 sm:3 spaces:0
	spoiler:0 stickers:0 styling:0 thumbs:0 thumbs:1 time vcard4 xdata:dynamic xdata:signature:oauth1
]]);
add("", [[
	eu.siacs.conversations.axolotl eu.siacs.conversations.axolotl.devicelist msgoffline storage:bookmarks
	urn:ietf:params:xml:ns:vcard-4.0 vcard-temp vcard-temp:x:update http://www.w3.org/TR/2002/REC-xhtml1-20020801
]]);
for family, names in pairs({ sha = "1 256 512", ["sha3"] = "256 512", ["blake2b"] = "256 512" }) do
	for name in names:gmatch("%S+") do
		add("urn:xmpp:hash-function-text-names:", family.."-"..name);
	end
end

return features;
