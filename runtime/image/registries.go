package image

type Registries struct{}

func ReadRegistries(string) (*Registries, error) { return nil, nil }
