module imaseal

go 1.26
