module pgpu.local/peers/katars

go 1.26.0

require pgpu.local/peers/kit v0.0.0

replace pgpu.local/peers/kit => ../kit
