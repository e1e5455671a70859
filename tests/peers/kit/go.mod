module pgpu.local/peers/kit

go 1.26.0
