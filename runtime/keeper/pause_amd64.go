package keeper

const pauseMachine = 62

// for { pause() }
var pauseCode = [...]byte{
	0xb8, 34, 0, 0, 0, // mov eax, 34
	0x0f, 0x05, // syscall
	0xeb, 0xf7, // jmp to the begin
}
