"""Search on the client's side: queries, fusion, reranking, evaluation. Works on a Basic licence."""
